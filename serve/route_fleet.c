/* This box and its peers. What /fleet says of peers fleet.c makes. */
#include "serve/serve.h"

void handle_fleet(struct serve *serve, const struct request *request, struct answer *answer)
{
	(void)request;
	answer_json(answer, 200,
	            json_pack("{s:s, s:s, s:s, s:s, s:[]}", "name", serve->hosts.machine, "instance",
	                      serve->view.instance, "version", MILLRACE_VERSION, "box",
	                      fleet_box(serve->fleet), "peers"));
}

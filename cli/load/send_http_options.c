#include "cli/load/send_http_options.h"

#include <string.h>

#include "cli/command.h"

int send_http_complete(const struct arguments *arguments, const struct send_http_amount *amount,
                       struct send_http_settings *load)
{
	const char *token = load->request.token;
	if (amount->connections * amount->pipeline > amount->in_flight_most)
		return arguments_error(arguments, "--connections times --pipeline must not be over %llu",
		                       (unsigned long long)amount->in_flight_most);
	if (token != NULL && (strlen(token) > SEND_HTTP_TEXT_MAX || strpbrk(token, " \r\n\t") != NULL))
		return arguments_error(arguments,
		                       "--token: must be at most %u characters without white space",
		                       SEND_HTTP_TEXT_MAX);
	load->connections = (uint32_t)amount->connections;
	load->pipeline = (uint32_t)amount->pipeline;
	if (load->count == UINT64_MAX && load->duration_ns == UINT64_MAX)
		load->count = amount->count;
	return ARGUMENTS_GO_ON;
}

int send_http_aim(const char *to, struct send_http_target *target, struct send_http_settings *load)
{
	const char *why;
	if (send_http_target(to, target, &why) < 0)
		return command_fail("send", "%s: %s; an address looks like %s", to, why,
		                    SEND_HTTP_DEFAULT_ADDRESS);
	load->address = target->address;
	load->address_bytes = target->address_bytes;
	load->request.host = target->host;
	load->request.prefix = target->prefix;
	return 0;
}

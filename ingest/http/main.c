/* The HTTP stage as a program. */
#include "ingest/http/http.h"

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &http_stage);
}

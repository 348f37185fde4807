#include "ingest/udp/udp.h"

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &udp_stage);
}

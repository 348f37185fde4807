/* The enrich stage as a program. */
#include "enrich/enrich.h"

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &enrich_stage);
}

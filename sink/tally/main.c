#include "sink/tally/tally.h"
#include "stage/stage.h"

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &tally_stage);
}

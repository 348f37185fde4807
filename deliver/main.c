#include "deliver/deliver.h"

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &deliver_stage);
}

#include "sink/objects/objects.h"
#include "stage/stage.h"

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &objects_stage);
}

#include "sink/file/file.h"

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &file_stage);
}

#include "sink/kafka/kafka.h"
#include "stage/stage.h"

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &kafka_stage);
}

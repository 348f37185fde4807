#include "serve/serve.h"

int main(int argc, char **argv)
{
	return stage_main(argc, argv, &serve_stage);
}

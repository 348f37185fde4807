/* The stage `file`: the sinks of the kinds file, stdout and null. README.md has the picture. */
#ifndef SINK_FILE_FILE_H
#define SINK_FILE_FILE_H

#include "stage/stage.h"

extern const struct stage_ops file_stage;

#endif

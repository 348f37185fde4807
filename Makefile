# millrace: build, test, install. One Makefile; each folder adds its part in a build.mk.
#
#   make run      install what is missing, build, start the whole pipeline on the embedded default
#   make test     install what the tests need, build, run all tests
#   make try-kernel  the main job on another kernel, in qemu
#   make test-peers  tests against moto, Azurite, Apache Kafka and Standard Webhooks
#   make          build only (everything lands under build/); make deps installs what that needs
#   make data     fetch the country database and the user-agent rules (make run and make test do it)
#   make crash-sinks | crash-deliver | crash-packets | crash-upgrade | outage-deliver | bench-live | asan | lint | fuzz | bench | check | install | clean
#
# Variables: BUILD (output folder), DATA (what is fetched), CC, CFLAGS, PREFIX, LIBDIR (of libmillrace, below PREFIX), DESTDIR, V=1 (show commands), NO_DEPS=1 (install nothing).

BUILD   ?= build
DATA    ?= data
PREFIX  ?= /usr/local
LIBDIR  ?= lib
VERSION := 0.1.0

.DEFAULT_GOAL := all
.SECONDEXPANSION:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

include mk/rules.mk
include mk/tables.mk
include mk/xdp.mk
include $(sort $(wildcard */build.mk */*/build.mk))
include mk/targets.mk

-include $(shell test -d $(BUILD) && find $(BUILD) -name '*.d')

# How things are built. A build.mk calls these four with $(eval $(call ...)):
#
#   archive, NAME, SOURCES                       build/lib/libNAME.a
#   program, PATH, SOURCES, ARCHIVES, LIBS       build/PATH           (bin/millrace, libexec/millrace/tally)
#   unit,    FOLDER/NAME, ARCHIVES, LIBS         build/tests/FOLDER/NAME_test from tests/FOLDER/NAME_test.c and the fixtures; part of `make test`
#   fuzzer,  NAME, SOURCES, ARCHIVES, LIBS       build/fuzz/NAME (clang, libFuzzer); part of `make fuzz`
#
# ARCHIVES are named without lib and .a, in link order. LIBS are linker flags.

CC       ?= gcc
ifeq ($(origin CC),default)
CC       := gcc
endif
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror
OPTIMISE ?= -O2
CFLAGS   ?= -g
# REPRODUCE: what keeps the folder of the build out of what is built (debian/rules).
# The folder that the sources include from is the root: #include "shm/stream.h".
ALL_CFLAGS = -std=gnu17 $(WARNINGS) $(OPTIMISE) $(CFLAGS) $(REPRODUCE) $(SANITIZE) -fPIC -fno-strict-aliasing -D_GNU_SOURCE -I. -I$(BUILD)/gen \
             -DMILLRACE_VERSION='"$(VERSION)"' -DMILLRACE_PREFIX='"$(PREFIX)"'
ALL_LDFLAGS = $(SANITIZE) $(LDFLAGS)

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-7s %s\n' $(1) $(2)
endif

# What the archive `stage` needs: whoever links that links these, where they are used.
STAGE_LIBS := -Wl,--as-needed -lseccomp

PROGRAMS :=
UNIT_TESTS :=
FUZZERS :=
TEST_PROGRAMS :=

objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
archives = $(foreach a,$(1),$(BUILD)/lib/lib$(a).a)

$(BUILD)/obj/%.o: %.c | have-packages
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(ALL_CFLAGS) $(CFLAGS_$(subst /,_,$*)) -MMD -MP -c $< -o $@

define archive
$(BUILD)/lib/lib$(1).a: $(call objects,$(2))
	@mkdir -p $$(@D)
	$$(call say,AR,$$@)
	$$(Q)rm -f $$@ && ar rcs $$@ $$(filter %.o,$$^)
endef

define link_rule
$(1): $(call objects,$(2)) $(call archives,$(3))
	@mkdir -p $$(@D)
	$$(call say,LINK,$$@)
	$$(Q)$$(CC) $$(ALL_LDFLAGS) -o $$@ $(call objects,$(2)) $(call archives,$(3)) $(4) $(if $(filter stage,$(3)),$(STAGE_LIBS))
endef

define program
$(call link_rule,$(BUILD)/$(1),$(2),$(3),$(4))
PROGRAMS += $(BUILD)/$(1)
endef

# A program that only tests use (not installed).
define test_program
$(call link_rule,$(BUILD)/$(1),$(2),$(3),$(4))
TEST_PROGRAMS += $(BUILD)/$(1)
endef

define unit
$(call link_rule,$(BUILD)/tests/$(1)_test,tests/$(1)_test.c,fixture $(2),-lcmocka $(3))
UNIT_TESTS += $(BUILD)/tests/$(1)_test
endef

FUZZ_FLAGS = -std=gnu17 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -D_GNU_SOURCE -I. -I$(BUILD)/gen \
             -DMILLRACE_VERSION='"$(VERSION)"' -DMILLRACE_PREFIX='"$(PREFIX)"'
# A fuzzer is compiled whole from its sources: its instrumentation must reach the code under test.
define fuzzer
$(BUILD)/fuzz/$(1): $(2)
	@mkdir -p $$(@D)
	$$(call say,FUZZ,$$@)
	$$(Q)clang $$(FUZZ_FLAGS) -o $$@ $$(filter %.c,$$^) $(3) $(4)
FUZZERS += $(BUILD)/fuzz/$(1)
endef

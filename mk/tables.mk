# Lists of the tables that the folders bring along, so that a new folder is found without naming it anywhere:
#
#   build/gen/options.list   every options.def: that of config/, those of the stages in flow order (before them what they share), the rest
#   build/gen/checks.list    every checks.def
#   build/gen/metrics.list   every stage's metrics.def, METRICS_OF being the stage's name

GEN  := $(BUILD)/gen
hash := \#

# name:folder of each stage (flow/flow.def)
FLOW := $(shell sed -nE 's/^STAGE."([^"]*)", "([^"]*)".*/\1:\2/p' flow/flow.def)
flow_name   = $(word 1,$(subst :, ,$(1)))
flow_folder = $(word 2,$(subst :, ,$(1)))

# FOLDER/options.def, after that of the folder above when this one goes on with the same section: sink/ has what all sinks share.
first_key = $(shell sed -nE 's/^OPTION."([a-z_]+).*/\1/p' $(1) | head -1)
shared    = $(if $(filter $(call first_key,$(1)/options.def),$(call first_key,$(dir $(1))options.def)),$(dir $(1))options.def)
tables_of = $(if $(wildcard $(1)/options.def),$(if $(wildcard $(dir $(1))options.def),$(call shared,$(1))) $(1)/options.def)
once      = $(if $(1),$(firstword $(1)) $(call once,$(filter-out $(firstword $(1)),$(1))))

OPTION_TABLES := $(call once,config/options.def $(foreach s,$(FLOW),$(call tables_of,$(call flow_folder,$(s)))))
OPTION_TABLES += $(filter-out $(OPTION_TABLES),$(sort $(wildcard */options.def */*/options.def)))
CHECK_TABLES  := $(sort $(wildcard */checks.def */*/checks.def))
METRIC_STAGES := $(foreach s,$(FLOW),$(if $(wildcard $(call flow_folder,$(s))/metrics.def),$(s)))

# Looked at by each make, written only when it says something else.
define list
$(GEN)/$(1): always-look
	@mkdir -p $$(@D)
	@printf '%s\n' $(2) > $$@.new
	@if cmp -s $$@.new $$@; then rm $$@.new; else mv $$@.new $$@; fi
endef

.PHONY: always-look
$(eval $(call list,options.list,$(foreach t,$(OPTION_TABLES),'$(hash)include "$(t)"')))
$(eval $(call list,checks.list,$(foreach t,$(CHECK_TABLES),'$(hash)include "$(t)"')))
$(eval $(call list,metrics.list,$(foreach s,$(METRIC_STAGES),'$(hash)define METRICS_OF "$(call flow_name,$(s))"' \
  '$(hash)include "$(call flow_folder,$(s))/metrics.def"' '$(hash)undef METRICS_OF')))

$(BUILD)/obj/config/options.o $(BUILD)/fuzz/config: $(GEN)/options.list
$(BUILD)/obj/config/check.o $(BUILD)/obj/config/complete.o $(BUILD)/obj/config/kinds.o $(BUILD)/fuzz/config: $(GEN)/checks.list
$(BUILD)/obj/scripts/document.o: $(GEN)/metrics.list

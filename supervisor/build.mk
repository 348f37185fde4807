$(eval $(call archive,supervisor,$(addprefix supervisor/,supervisor.c home.c plan.c plan_merge.c plan_print.c plan_flow.c groups.c segments.c lane_file.c \
                                 sockets.c bind.c queues.c children.c orphans.c drain.c trial.c reload.c watch.c)))

# The back-end xdp (packets.h) needs libxdp, libbpf, and clang for the program that runs on the interface. XDP=0 builds without it; so does a
# build that misses one of them, and says so.
BPF_CLANG   ?= clang
BPF_INCLUDE := /usr/include/$(shell uname -m)-linux-gnu
ifneq ($(XDP),0)
XDP_MISSING := $(strip $(shell command -v $(BPF_CLANG) > /dev/null || echo $(BPF_CLANG)) \
               $(foreach h,xdp/libxdp.h bpf/libbpf.h,$(shell echo '$(hash)include <$(h)>' | $(CC) -E -x c - > /dev/null 2>&1 || echo $(h))))
endif
ifeq ($(XDP)$(XDP_MISSING),0)
PACKETS := packets_none.c
else ifneq ($(XDP_MISSING),)
PACKETS := packets_none.c
else
PACKETS := packets.c packets_interface.c packets_socket.c
PACKETS_LIBS := -lxdp -lbpf
endif

# Written when the choice changes: then the supervisor is linked anew.
$(GEN)/packets.choice: always-look
	@mkdir -p $(@D)
	@echo '$(PACKETS)' > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; \
	test -z '$(XDP_MISSING)' || echo '  built without the back-end xdp: there is no $(XDP_MISSING) (scripts/install-packages xdp)'; fi

$(GEN)/packets.bpf.inc: supervisor/packets.bpf.c supervisor/packets_program.h shm/frames_gate.h
	@mkdir -p $(@D)
	$(call say,BPF,$<)
	$(Q)$(BPF_CLANG) -target bpf -O2 -g -Wall -Wextra -Werror -I. -idirafter $(BPF_INCLUDE) -c $< -o $(GEN)/packets.bpf.o
	@od -An -v -tx1 -w16 $(GEN)/packets.bpf.o | sed 's/ \(..\)/0x\1,/g' > $@
$(BUILD)/obj/supervisor/packets_interface.o: $(GEN)/packets.bpf.inc

$(eval $(call archive,packets,$(addprefix supervisor/,$(PACKETS))))
$(BUILD)/lib/libpackets.a: $(GEN)/packets.choice
$(eval $(call program,libexec/millrace/supervisor,supervisor/main.c,supervisor packets supervisor stage flow config shm event base,$(PACKETS_LIBS) -lcyaml -lyaml -lck))


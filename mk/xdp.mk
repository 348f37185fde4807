# What works on a network interface by a program in the kernel (the back-end xdp, live frames of `send udp`) needs libxdp, libbpf, and clang for
# these programs. XDP=0 builds without; so does a build that misses one of them, and says so. Sets XDP_BUILT to 1 or nothing, and LIBBPF.
#
#   bpf, PATH, HEADERS    build/gen/NAME.bpf.inc from PATH.bpf.c, for #include in an array of bytes

BPF_CLANG   ?= clang
BPF_INCLUDE := /usr/include/$(shell uname -m)-linux-gnu
ifneq ($(XDP),0)
XDP_MISSING := $(strip $(shell command -v $(BPF_CLANG) > /dev/null || echo $(BPF_CLANG)) \
               $(foreach h,xdp/libxdp.h bpf/libbpf.h,$(shell echo '$(hash)include <$(h)>' | $(CC) -E -x c - > /dev/null 2>&1 || echo $(h))))
endif
XDP_BUILT := $(if $(filter 0,$(XDP))$(XDP_MISSING),,1)
LIBBPF    := $(if $(XDP_BUILT),-lbpf) # for programs that send or hold frames

# Written when the choice changes: what depends on it is made anew.
$(GEN)/xdp.choice: always-look
	@mkdir -p $(@D)
	@echo '$(XDP_BUILT)' > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; \
	test -z '$(XDP_MISSING)' || echo '  built without the back-end xdp: there is no $(XDP_MISSING) (scripts/install-packages xdp)'; fi

define bpf
$(GEN)/$(notdir $(1)).bpf.inc: $(1).bpf.c $(2)
	@mkdir -p $$(@D)
	$$(call say,BPF,$$<)
	$$(Q)$$(BPF_CLANG) -target bpf -O2 -g $$(REPRODUCE) -Wall -Wextra -Werror -I. -idirafter $$(BPF_INCLUDE) -c $$< -o $$(@:.inc=.o)
	@od -An -v -tx1 -w16 $$(@:.inc=.o) | sed 's/ \(..\)/0x\1,/g' > $$@
endef

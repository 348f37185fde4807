# libmillrace.so: the interface for outside programs. Only what millrace.h declares is visible.

LIBMILLRACE := $(BUILD)/lib/libmillrace.so.0

$(LIBMILLRACE): $(call objects,lib/millrace.c) $(call archives,shm)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -shared -Wl,-soname,libmillrace.so.0 -Wl,--exclude-libs,ALL -o $@ $^ -lck
	$(Q)ln -sf libmillrace.so.0 $(BUILD)/lib/libmillrace.so

CFLAGS_lib_millrace := -fvisibility=hidden

# For the test, which also looks at the segments with functions that the library does not show.
$(eval $(call archive,millrace_static,lib/millrace.c))

$(BUILD)/lib/pkgconfig/millrace.pc: lib/millrace.pc.in
	@mkdir -p $(@D)
	$(Q)sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' $< > $@

# The example is built as an outside program would be: from the public header and the shared library alone.
$(BUILD)/examples/count: lib/examples/count.c lib/millrace.h $(LIBMILLRACE)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) -std=gnu17 $(WARNINGS) -O2 $(SANITIZE) -Ilib -o $@ $< -L$(BUILD)/lib -lmillrace -Wl,-rpath,'$$ORIGIN/../lib'

PROGRAMS += $(LIBMILLRACE) $(BUILD)/lib/pkgconfig/millrace.pc $(BUILD)/examples/count

# libmillrace.so: the interface for outside programs. Only what millrace.h declares is visible.

LIBMILLRACE := $(BUILD)/lib/libmillrace.so.0

LIBMILLRACE_SOURCES := $(addprefix lib/,millrace.c reader.c seek.c writer.c)

$(LIBMILLRACE): $(call objects,$(LIBMILLRACE_SOURCES)) $(call archives,shm event base) lib/millrace.map
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -shared -Wl,-soname,libmillrace.so.0 -Wl,--exclude-libs,ALL -Wl,--version-script=lib/millrace.map \
	  -o $@ $(filter-out %.map,$^) -lck -pthread
	$(Q)ln -sf libmillrace.so.0 $(BUILD)/lib/libmillrace.so

$(foreach source,$(LIBMILLRACE_SOURCES),$(eval CFLAGS_$(subst /,_,$(basename $(source))) := -fvisibility=hidden))

# For the test, which also looks at the segments with functions that the library does not show.
$(eval $(call archive,millrace_static,$(LIBMILLRACE_SOURCES)))

$(BUILD)/lib/pkgconfig/millrace.pc: lib/millrace.pc.in
	@mkdir -p $(@D)
	$(Q)sed 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@VERSION@|$(VERSION)|' $< > $@

# The example is built as an outside program would be: from the public header and the shared library alone.
$(BUILD)/examples/count: lib/examples/count.c lib/millrace.h $(LIBMILLRACE)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) -std=gnu17 $(WARNINGS) -O2 $(SANITIZE) -Ilib -o $@ $< -L$(BUILD)/lib -lmillrace -Wl,-rpath,'$$ORIGIN/../lib'

PROGRAMS += $(LIBMILLRACE) $(BUILD)/lib/pkgconfig/millrace.pc $(BUILD)/examples/count

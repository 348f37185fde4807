# libwebsockets-evlib-uv, which joins libwebsockets and libuv, is loaded when the stage starts.
SERVE_LIBS := -lwebsockets -luv -lcares -lcurl -lsqlite3 -lssl -lcrypto -lidn2 -ljansson -lcyaml -lyaml -lck -lz -pthread
SERVE_PARTS := look deliver tally tokens
$(eval $(call archive,serve,$(filter-out serve/main.c,$(sort $(wildcard serve/*.c)))))
$(eval $(call program,libexec/millrace/serve,serve/main.c,serve $(SERVE_PARTS) stage flow config shm event base,$(SERVE_LIBS)))
# The files of the live page, which the program carries.
PAGE_FILES := $(sort $(notdir $(filter-out %/README.md,$(wildcard serve/page/*))))
page_symbol = $(subst .,_,$(subst -,_,$(1)))
$(eval $(call list,page.list,$(foreach f,$(PAGE_FILES),'FILE_OF_PAGE($(call page_symbol,$(f)), "$(f)")')))
$(BUILD)/obj/serve/page.o: $(GEN)/page.list $(addprefix serve/page/,$(PAGE_FILES))

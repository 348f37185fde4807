# libwebsockets-evlib-uv, which joins libwebsockets and libuv, is loaded when the stage starts.
SERVE_LIBS := -lwebsockets -luv -lcares -lcurl -lsqlite3 -lssl -lcrypto -lidn2 -ljansson -lcyaml -lyaml -lck -lz -pthread
SERVE_PARTS := look deliver tally tokens
$(eval $(call archive,serve,$(filter-out serve/main.c,$(sort $(wildcard serve/*.c)))))
$(eval $(call program,libexec/millrace/serve,serve/main.c,serve $(SERVE_PARTS) stage flow config shm event base,$(SERVE_LIBS)))

$(eval $(call archive,deliver,$(filter-out deliver/main.c,$(sort $(wildcard deliver/*.c)))))
DELIVER_LIBS := -lcares -lcurl -lsqlite3 -lssl -lcrypto -lidn2 -ljansson -lcyaml -lyaml -lck -lz -pthread
$(eval $(call program,libexec/millrace/deliver,deliver/main.c,deliver stage flow config shm event base,$(DELIVER_LIBS)))

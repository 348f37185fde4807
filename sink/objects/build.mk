$(eval $(call archive,objects,$(filter-out sink/objects/main.c,$(sort $(wildcard sink/objects/*.c)))))
$(eval $(call archive,pack,sink/objects/pack.c))
$(eval $(call program,libexec/millrace/objects,sink/objects/main.c,objects stage flow config shm event base,-lisal -lzstd -lz -lcurl -lcrypto -ljansson -lcyaml -lyaml -lck -pthread))

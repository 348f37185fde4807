ENRICH_PARTS := enrich track geo data_file agent
ENRICH_LIBS  := -lmaxminddb -lhs -lpcre2-8 -lyaml
$(eval $(call archive,enrich,$(addprefix enrich/,lookup.c enrich.c alone.c)))
$(eval $(call program,libexec/millrace/enrich,enrich/main.c,$(ENRICH_PARTS) stage flow config shm event base,-lcyaml -lck -pthread $(ENRICH_LIBS)))

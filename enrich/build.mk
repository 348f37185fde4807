ENRICH_PARTS := enrich track geo data_file agent
ENRICH_LIBS  := -lmaxminddb -lhs -lpcre2-8 -lyaml
$(eval $(call archive,enrich,$(addprefix enrich/,lookup.c enrich.c)))
$(eval $(call program,libexec/millrace/enrich,$(addprefix enrich/,main.c enrich_stage.c),$(ENRICH_PARTS) stage config shm event base,-lcyaml -lck -pthread $(ENRICH_LIBS)))

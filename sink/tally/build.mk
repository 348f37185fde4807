$(eval $(call archive,tally,$(addprefix sink/tally/,counts.c networks.c store.c checkpoint.c files.c report.c answer.c top.c top_store.c top_read.c tally.c alone.c)))
$(eval $(call program,libexec/millrace/tally,sink/tally/main.c,tally stage flow config shm event base,-lsqlite3 -ljansson -lcyaml -lyaml -lck -pthread))

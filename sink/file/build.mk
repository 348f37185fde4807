$(eval $(call archive,sink_file,$(addprefix sink/file/,file.c growing.c lines.c standard.c rotated.c)))
$(eval $(call program,libexec/millrace/file,sink/file/main.c,sink_file stage flow config shm event base,-ljansson -lcyaml -lyaml -lck))

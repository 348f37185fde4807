$(eval $(call archive,deliver,$(addprefix deliver/,record.c)))

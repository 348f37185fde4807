$(eval $(call program,libexec/millrace/logmeter,logmeter/main.c,stage flow config shm event base,-lcyaml -lyaml -lck -pthread))

$(eval $(call archive,kafka,$(addprefix sink/kafka/,properties.c cluster.c message.c exactly.c pipe.c kafka.c alone.c)))
$(eval $(call program,libexec/millrace/kafka,sink/kafka/main.c,kafka stage flow config shm event base,-lrdkafka -ljansson -lcyaml -lyaml -lck -pthread))

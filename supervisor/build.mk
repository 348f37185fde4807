$(eval $(call archive,supervisor,$(addprefix supervisor/,supervisor.c home.c plan.c plan_merge.c plan_print.c plan_flow.c groups.c segments.c lane_file.c \
                                 sockets.c bind.c queues.c children.c orphans.c drain.c trial.c reload.c watch.c)))
$(eval $(call program,libexec/millrace/supervisor,supervisor/main.c,supervisor stage flow config shm event base,-lcyaml -lyaml -lck))

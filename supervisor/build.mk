$(eval $(call archive,supervisor,$(addprefix supervisor/,supervisor.c home.c plan.c plan_merge.c plan_print.c segments.c lanes.c \
                                 sockets.c bind.c queues.c children.c orphans.c drain.c trial.c reload.c watch.c)))
$(eval $(call program,libexec/millrace/supervisor,supervisor/main.c,supervisor stage shm,-lcyaml -lyaml -lck))

$(eval $(call unit,plan,supervisor stage shm,-lcyaml -lyaml -lck))
$(eval $(call unit,sockets,supervisor stage shm,-lcyaml -lyaml -lck))
$(eval $(call unit,sockets_stream,supervisor stage shm,-lcyaml -lyaml -lck))
$(eval $(call unit,segments,supervisor stage shm,-lcyaml -lyaml -lck))
$(eval $(call unit,watch,supervisor stage shm,-lcyaml -lyaml -lck))
$(eval $(call unit,queues,supervisor stage shm,-lcyaml -lyaml -lck))
$(eval $(call test_program,tests/fake_stage,tests/fake_stage.c,stage shm,-lck))

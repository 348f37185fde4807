# The generator and the sender stand apart: benchmarks and tests use them too.
$(eval $(call archive,generator,$(addprefix cli/,generator.c generator_expect.c generator_message.c send_udp.c)))
$(eval $(call archive,send_http,cli/print_json.c $(addprefix cli/send_http_,account.c answer.c body.c connection.c histogram.c report.c request.c run.c \
                      target.c)))
$(eval $(call archive,clean,$(addprefix cli/,clean.c arguments.c)))
$(eval $(call program,bin/millrace,$(addprefix cli/,main.c command.c arguments.c bench.c check.c clean.c consume.c filter.c grid.c last.c \
                      ndjson.c program.c report.c run.c send.c send_http.c stat.c stat_table.c tap.c tap_output.c tap_queue.c),\
  send_http generator look supervisor tally stage flow config shm event base,-lsqlite3 -ljansson -lcyaml -lyaml -lck -pthread -lm))

# The generator and the clients stand apart: benchmarks and tests use them too.
$(eval $(call archive,generator,$(addprefix cli/load/,generator.c generator_expect.c generator_message.c send_udp.c)))
$(eval $(call archive,send_http,cli/print_json.c $(addprefix cli/load/send_http,.c _account.c _answer.c _body.c _connection.c \
                      _histogram.c _report.c _request.c _target.c)))

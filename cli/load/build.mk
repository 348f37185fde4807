# The generator and the clients stand apart: benchmarks and tests use them too.
$(eval $(call archive,generator,$(addprefix cli/load/,generator.c generator_message.c pace.c send_udp.c send_xdp.c send_frame.c link.c transmit.c)))
$(eval $(call archive,send_http,$(addprefix cli/load/,send_http.c send_http_answer.c send_http_connection.c send_http_request.c)))

# The receiver stands apart: tests and benchmarks use it too.
$(eval $(call archive,catch,$(addprefix cli/catch/,catch.c catch_account.c catch_log.c catch_request.c catch_rules.c catch_signature.c)))

$(eval $(call archive,stage,$(addprefix stage/,calls.c certificates.c control.c database.c errand.c file.c handed.c help.c landlock.c loop.c notify.c passed.c ports.c ports_listed.c records.c sandbox.c settle.c sieve.c signature.c stage.c values.c written.c)))
$(eval $(call archive,tokens,stage/tokens.c))

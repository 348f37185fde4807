$(eval $(call test_program,tools/document,scripts/document.c,look supervisor stage flow config shm event base,-ljansson -lcyaml -lyaml -lck))

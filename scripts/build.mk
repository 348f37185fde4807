$(eval $(call test_program,tools/document,scripts/document.c,supervisor stage flow config shm event base,-lcyaml -lyaml -lck))

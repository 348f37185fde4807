$(eval $(call test_program,tools/document,scripts/document.c,stage config shm event base,-lcyaml -lyaml))

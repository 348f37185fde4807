$(eval $(call test_program,tools/document,scripts/document.c,stage flow config shm event base,-lcyaml -lyaml))

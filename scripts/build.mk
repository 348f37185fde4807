$(eval $(call test_program,tools/document,scripts/document.c,stage shm,-lcyaml -lyaml))

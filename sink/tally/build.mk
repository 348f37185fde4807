# A line for each thought, so that whoever adds a book adds a line.
TALLY := counts.c networks.c book_ip.c report.c
TALLY += book_track.c consumers.c
TALLY += top.c top_store.c top_read.c answer.c
TALLY += book_metric.c names.c known.c hour.c hour_store.c days.c hourly.c distinct.c accounts.c
TALLY += minutes.c book_delivery.c attempts.c attempts_sum.c
TALLY += books.c reader.c
TALLY += forget.c
TALLY += store.c store_open.c store_try.c checkpoint.c files.c
TALLY += tally.c alone.c
$(eval $(call archive,tally,$(addprefix sink/tally/,$(TALLY))))
$(eval $(call program,libexec/millrace/tally,sink/tally/main.c,tally stage flow config shm event base,-lsqlite3 -ljansson -lcyaml -lyaml -lck -pthread))

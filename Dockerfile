# An image of millrace. It was written from the documents of Docker and not built or run by the tests: those have no Docker.
#
#   docker build -t millrace .
#   docker run --shm-size=1g --ulimit nofile=70000:70000 --stop-timeout=40 -p 4002:4002/udp -p 8080:8080 -v millrace:/var/lib/millrace millrace
#
# --shm-size: the lanes and queues lie in /dev/shm, which Docker makes 64 MiB; `docker run --rm millrace check` prints the bytes that are needed, and millrace refuses to start with
#   less. Its pages count against --memory. What is in it is gone with the container: stop it (it drains), do not kill it.
# --ulimit nofile: a descriptor for each of ingest.http.max_connections (65,536).
# --stop-timeout: longer than drain_timeout (30 s).
# seccomp: Docker's default profile denies io_uring (since version 25). millrace then takes recvmmsg and epoll, and `millrace stat` says so. To allow it, add io_uring_setup,
#   io_uring_enter and io_uring_register to the names of a copy of the default profile: --security-opt seccomp=PROFILE.json
# receive_buffer: what is above the host's net.core.rmem_max (208 KiB on most) is not granted, and the log says so: raise it on the host. A container cannot set it, and --cap-add NET_ADMIN gives
#   nothing to a user that is not root.
# users: all stages run as the image's user, millrace (999). What it writes is in the volume: a folder of the host in its place must belong to 999.
# The country database and the user-agent rules are fetched while the image is built (make data); without the network the image has none.

FROM debian:trixie AS build
WORKDIR /src
COPY . .
RUN scripts/install-packages build data && scripts/fetch-data data && make NO_DEPS=1 XDP=0 PREFIX=/usr -j"$(nproc)" all && make NO_DEPS=1 XDP=0 PREFIX=/usr DESTDIR=/out install

FROM debian:trixie-slim
COPY --from=build /src/scripts/install-packages /src/scripts/packages /tmp/scripts/
RUN /tmp/scripts/install-packages run && rm -rf /tmp/scripts /var/lib/apt/lists/* \
 && groupadd --system --gid 999 millrace && useradd --system --uid 999 --gid 999 --home-dir /var/lib/millrace --create-home millrace
COPY --from=build /out/ /
USER millrace
WORKDIR /var/lib/millrace
VOLUME /var/lib/millrace
EXPOSE 4002/udp 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD millrace stat --json >/dev/null
ENTRYPOINT ["millrace"]
CMD ["run", "--set", "data_dir=/var/lib/millrace"]

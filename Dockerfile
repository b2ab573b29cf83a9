# The image of every program: server, tester, demo and healthcheck.
#
#   docker build --build-arg VERSION=1.2.3 -t image-streamer .
#
# GO_IMAGE may be any image with Go, a shell and ca-certificates, such as
# golang:1.26-alpine. Plain instructions only: the legacy builder builds it too.
ARG GO_IMAGE=golang:1.26

FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.release=${VERSION}" -o /image-streamer .

FROM scratch
# For a Redis by rediss:// and a tester by https://.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /image-streamer /image-streamer
USER 65532:65532
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["/image-streamer", "healthcheck"]
ENTRYPOINT ["/image-streamer"]

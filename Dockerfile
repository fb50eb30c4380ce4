# The operator's image. Where a container engine is at hand, this builds it, after make distribution; `make image` makes the same without one
# and takes the labels, the user and the entrypoint from here.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=v0.1.0
# off, or the version of Go's FIPS 140-3 module that is linked in and switched on: certified, v1.0.0, latest.
ARG GOFIPS140=off
ARG TARGETARCH=amd64
ENV CGO_ENABLED=0 GOTOOLCHAIN=local
RUN GOFIPS140=${GOFIPS140} GOARCH=${TARGETARCH} go build -trimpath -buildvcs=false -ldflags "-s -w -X main.VERSION=${VERSION}" -o /image/flux-operator .
RUN go run ./tools/cmd/licenses --arch ${TARGETARCH} --out /image/licenses . && cp LICENSE /image/licenses/
RUN go run ./tools/cmd/roots --out /image/etc/ssl/certs/ca-certificates.crt && mkdir -m 1777 /image/tmp

FROM scratch
ARG VERSION=v0.1.0
ARG REVISION=unknown
ARG RELEASE=1
LABEL name="flux-operator" \
  vendor="Flux Autopilot" \
  maintainer="Flux Autopilot maintainers <flux-autopilot@users.noreply.github.com>" \
  version="${VERSION}" \
  release="${RELEASE}" \
  summary="Installs, configures, upgrades and repairs Flux" \
  description="Installs Flux from one object, keeps it at the release you chose, and puts back what others change. GitOps on autopilot." \
  io.k8s.display-name="Flux Operator" \
  io.k8s.description="Installs, configures, upgrades and repairs Flux" \
  org.opencontainers.image.title="flux-operator" \
  org.opencontainers.image.description="Installs, configures, upgrades and repairs Flux" \
  org.opencontainers.image.vendor="Flux Autopilot" \
  org.opencontainers.image.version="${VERSION}" \
  org.opencontainers.image.revision="${REVISION}" \
  org.opencontainers.image.source="https://github.com/flux-autopilot/flux-operator" \
  org.opencontainers.image.url="https://github.com/flux-autopilot/flux-operator" \
  org.opencontainers.image.documentation="https://github.com/flux-autopilot/flux-operator/tree/main/docs" \
  org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image /
COPY dist/distribution /data
USER 65532:65532
ENTRYPOINT ["/flux-operator"]

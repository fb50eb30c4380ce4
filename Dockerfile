# Builds the operator's image where a container engine is at hand. `make image` builds the same content without one.
# The distribution is generated first: make distribution
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=0.0.0-dev
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.VERSION=${VERSION}" -o /flux-operator .

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /flux-operator /flux-operator
COPY LICENSE /licenses/LICENSE
COPY dist/distribution /data
USER 65532:65532
ENTRYPOINT ["/flux-operator"]

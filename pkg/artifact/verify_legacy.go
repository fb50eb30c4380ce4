package artifact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/verify"
	exactjson "k8s.io/apimachinery/pkg/util/json"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/errdef"
)

const (
	// maxSignatureManifest bounds the manifest of a signature. In the legacy format it holds all signatures with their certificates, some 10 KiB each.
	maxSignatureManifest = 4 << 20
	// maxPayload bounds what a legacy signature is made over, which has some hundred bytes.
	maxPayload = 64 << 10

	payloadMediaType = "application/vnd.dev.cosign.simplesigning.v1+json"
	payloadType      = "cosign container image signature"
	// legacyBundle is the oldest form of a bundle, the one whose log entries need no proof of inclusion besides the promise of one.
	legacyBundle = "application/vnd.dev.sigstore.bundle+json;version=0.1"

	signatureAnnotation   = "dev.cosignproject.cosign/signature"
	certificateAnnotation = "dev.sigstore.cosign/certificate"
	logAnnotation         = "dev.sigstore.cosign/bundle"
	timestampAnnotation   = "dev.sigstore.cosign/rfc3161timestamp"
)

// material reads, from the annotations of a legacy signature, what the signature is checked with.
type material func(annotations map[string]string) (*protobundle.VerificationMaterial, error)

// attached reads the signatures below the tag sha256-<hex>.sig, the newest one first.
func attached(ctx context.Context, target oras.ReadOnlyGraphTarget, subject ocispec.Descriptor, read material) iter.Seq2[signature, error] {
	return func(yield func(signature, error) bool) {
		layers, err := attachedLayers(ctx, target, subject.Digest)
		if err != nil {
			yield(signature{}, err)
			return
		}
		payloads := map[digest.Digest][]byte{} // mostly one: the same artifact, signed again
		for _, layer := range slices.Backward(layers) {
			if layer.MediaType != payloadMediaType {
				continue
			}
			payload, known := payloads[layer.Digest]
			if !known {
				if payload, err = fetch(ctx, target, layer, maxPayload); err != nil {
					err = fmt.Errorf("reading what was signed: %w", err)
				}
				payloads[layer.Digest] = payload
			}
			var found signature
			if payload != nil {
				found, err = legacySignature(layer.Annotations, payload, subject.Digest, read)
			}
			if !yield(found, err) {
				return
			}
		}
	}
}

// attachedLayers returns nothing when there is no such tag.
func attachedLayers(ctx context.Context, target oras.ReadOnlyGraphTarget, artifact digest.Digest) ([]ocispec.Descriptor, error) {
	tag := signatureTag(artifact)
	desc, err := target.Resolve(ctx, tag)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("resolving tag %q: %w", tag, err)
	}
	manifest, err := fetchManifest(ctx, target, desc)
	if err != nil {
		return nil, fmt.Errorf("reading tag %q: %w", tag, err)
	}
	return manifest.Layers, nil
}

// legacySignature makes a bundle of a signature. The payload has to name the artifact: a signature may have been copied from another one.
func legacySignature(annotations map[string]string, payload []byte, artifact digest.Digest, read material) (signature, error) {
	if err := checkPayload(payload, artifact); err != nil {
		return signature{}, err
	}
	bytesOfSignature, err := base64.StdEncoding.DecodeString(annotations[signatureAnnotation])
	if err != nil || len(bytesOfSignature) == 0 {
		return signature{}, fmt.Errorf("annotation %q holds no signature", signatureAnnotation)
	}
	proof, err := read(annotations)
	if err != nil {
		return signature{}, err
	}
	sum := sha256.Sum256(payload)
	entity, err := bundle.NewBundle(&protobundle.Bundle{
		MediaType:            legacyBundle,
		VerificationMaterial: proof,
		Content: &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum[:]},
			Signature:     bytesOfSignature,
		}},
	})
	if err != nil {
		return signature{}, fmt.Errorf("reading signature: %w", err)
	}
	return signature{
		entity:   entity,
		over:     func() verify.ArtifactPolicyOption { return verify.WithArtifact(bytes.NewReader(payload)) },
		approves: func(*verify.VerificationResult) error { return nil }, // the payload was looked at above
	}, nil
}

// checkPayload refuses payloads that are not about the artifact. Where the artifact lay when it was signed does not matter: mirrors are elsewhere.
func checkPayload(payload []byte, artifact digest.Digest) error {
	var signed struct {
		Critical struct {
			Image struct {
				Digest string `json:"docker-manifest-digest"` //nolint:tagliatelle // the format's name
			} `json:"image"`
			Type string `json:"type"`
		} `json:"critical"`
	}
	if err := exactjson.Unmarshal(payload, &signed); err != nil { // the standard library takes other spellings for the same name
		return fmt.Errorf("reading what was signed: %w", err)
	}
	if signed.Critical.Type != payloadType {
		return fmt.Errorf("what was signed is of type %q, not %q", signed.Critical.Type, payloadType)
	}
	if signed.Critical.Image.Digest != artifact.String() {
		return fmt.Errorf("it is the signature of another artifact, %q", signed.Critical.Image.Digest)
	}
	return nil
}

// keyed leaves it to the verifier with which key the signature is checked.
func keyed(map[string]string) (*protobundle.VerificationMaterial, error) {
	return &protobundle.VerificationMaterial{
		Content: &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{}},
	}, nil
}

// certified reads the certificate of a keyless signature and the proofs of when it was valid.
func certified(annotations map[string]string) (*protobundle.VerificationMaterial, error) {
	block, _ := pem.Decode([]byte(annotations[certificateAnnotation]))
	if block == nil {
		return nil, errors.New("signed with a key, not by an identity")
	}
	proof := &protobundle.VerificationMaterial{
		Content: &protobundle.VerificationMaterial_X509CertificateChain{X509CertificateChain: &protocommon.X509CertificateChain{
			Certificates: []*protocommon.X509Certificate{{RawBytes: block.Bytes}},
		}},
	}
	if text := annotations[logAnnotation]; text != "" {
		entry, err := logEntry(text)
		if err != nil {
			return nil, fmt.Errorf("reading annotation %q: %w", logAnnotation, err)
		}
		proof.TlogEntries = []*protorekor.TransparencyLogEntry{entry}
	}
	if text := annotations[timestampAnnotation]; text != "" {
		var timestamp struct {
			SignedRFC3161Timestamp []byte `json:"SignedRFC3161Timestamp"` //nolint:tagliatelle // the format's name
		}
		if err := json.Unmarshal([]byte(text), &timestamp); err != nil {
			return nil, fmt.Errorf("reading annotation %q: %w", timestampAnnotation, err)
		}
		proof.TimestampVerificationData = &protobundle.TimestampVerificationData{
			Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: timestamp.SignedRFC3161Timestamp}},
		}
	}
	return proof, nil
}

// logEntry reads the entry of a transparency log as cosign wrote it down before there were bundles.
func logEntry(text string) (*protorekor.TransparencyLogEntry, error) {
	var entry struct {
		SignedEntryTimestamp []byte `json:"SignedEntryTimestamp"` //nolint:tagliatelle // the format's name
		Payload              struct {
			Body           []byte `json:"body"`
			IntegratedTime int64  `json:"integratedTime"`
			LogIndex       int64  `json:"logIndex"`
			LogID          string `json:"logID"` //nolint:tagliatelle // the format's name
		} `json:"Payload"` //nolint:tagliatelle // the format's name
	}
	if err := json.Unmarshal([]byte(text), &entry); err != nil {
		return nil, err
	}
	var body struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
	}
	if err := json.Unmarshal(entry.Payload.Body, &body); err != nil {
		return nil, fmt.Errorf("reading body: %w", err)
	}
	log, err := hex.DecodeString(entry.Payload.LogID)
	if err != nil {
		return nil, fmt.Errorf("reading log id: %w", err)
	}
	return &protorekor.TransparencyLogEntry{
		LogIndex:          entry.Payload.LogIndex,
		LogId:             &protocommon.LogId{KeyId: log},
		KindVersion:       &protorekor.KindVersion{Kind: body.Kind, Version: body.APIVersion},
		IntegratedTime:    entry.Payload.IntegratedTime,
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: entry.SignedEntryTimestamp},
		CanonicalizedBody: entry.Payload.Body,
	}, nil
}

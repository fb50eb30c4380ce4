package artifact

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	sigstore "github.com/sigstore/sigstore/pkg/signature"
)

// byKeys trusts signatures made with any of the keys. When they were made does not matter, so neither logs nor timestamps are asked.
func byKeys(o VerifyOptions, _ mirror) (*Cosign, error) {
	var trusted []trust
	names := slices.Sorted(maps.Keys(o.Keys))
	for _, name := range names {
		key, err := publicKey(o.Keys[name])
		if err != nil {
			return nil, fmt.Errorf("reading public key %q: %w", name, err)
		}
		ways, err := algorithms(key)
		if err != nil {
			return nil, fmt.Errorf("reading public key %q: %w", name, err)
		}
		for _, way := range ways {
			verifier, err := keyVerifier(way)
			if err != nil {
				return nil, fmt.Errorf("trusting public key %q: %w", name, err)
			}
			trusted = append(trusted, trust{key: name, verifier: verifier, policy: verify.WithKey()})
		}
	}
	return &Cosign{
		expects: fmt.Sprintf("what is signed with %s", list(names, func(name string) string { return fmt.Sprintf("key %q", name) })),
		trusted: func(context.Context) ([]trust, error) { return trusted, nil },
	}, nil
}

// publicKey reads the one public key that a file holds.
func publicKey(file []byte) (crypto.PublicKey, error) {
	block, rest := pem.Decode(file)
	if block == nil {
		return nil, errors.New("it is not in PEM form: give what cosign generate-key-pair writes to cosign.pub")
	}
	if strings.HasSuffix(block.Type, "PRIVATE KEY") {
		return nil, errors.New("it is a private key: keep that secret, and give the public one")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("it holds more than one block: give each key under its own name")
	}
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	default:
		return nil, fmt.Errorf("it is a %q: give a \"PUBLIC KEY\"", block.Type)
	}
}

// algorithms are the ways in which the versions of cosign have signed with such a key.
func algorithms(key crypto.PublicKey) ([]sigstore.Verifier, error) {
	var ways []sigstore.Verifier
	var failure error
	add := func(way sigstore.Verifier, err error) {
		ways, failure = append(ways, way), errors.Join(failure, err)
	}
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P384():
			add(sigstore.LoadVerifier(key, crypto.SHA384))
		case elliptic.P521():
			add(sigstore.LoadVerifier(key, crypto.SHA512))
		default: // the hash below is the one of P-256
		}
		add(sigstore.LoadVerifier(key, crypto.SHA256))
	case *rsa.PublicKey:
		add(sigstore.LoadVerifier(key, crypto.SHA256))
	case ed25519.PublicKey:
		add(sigstore.LoadED25519Verifier(key))
		add(sigstore.LoadED25519phVerifier(key))
	default:
		return nil, errors.New("it is of a kind that cosign does not sign with: give an ECDSA, RSA or Ed25519 key")
	}
	return ways, failure
}

// keyVerifier takes the key for the one that a signature says it was made with, whatever it says.
func keyVerifier(way sigstore.Verifier) (*verify.Verifier, error) {
	key := root.NewExpiringKey(way, time.Time{}, time.Time{})
	material := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) { return key, nil })
	return verify.NewVerifier(material, verify.WithNoObserverTimestamps())
}

// list writes down a few of many.
func list[T any](items []T, name func(T) string) string {
	var names []string
	for i, item := range items {
		if i == maxReasons {
			names = append(names, fmt.Sprintf("%d others", len(items)-i))
			break
		}
		names = append(names, name(item))
	}
	return strings.Join(names, " or ")
}

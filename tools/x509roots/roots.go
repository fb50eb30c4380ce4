// Package x509roots pins the authorities of the Mozilla project, which the images of this project trust.
package x509roots

import (
	_ "golang.org/x/crypto/x509roots/fallback/bundle"
)

// Package e2eolm proves on a real node that the Operator Lifecycle Manager installs, configures, upgrades and removes the operator: from a catalog and
// bundles in images, with nothing of this project applied by hand.
package e2eolm

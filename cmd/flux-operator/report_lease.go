package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// operatorLease is the Lease that the operator renews every few seconds.
const operatorLease = "flux-operator"

// leasePatience is how old the Lease may be: a new operator takes it over, and the clock of this machine may be another than that of the cluster.
const leasePatience = 2 * time.Minute

// warnOfSilence says when no operator keeps the report true. Who may not read Leases, or has none because a single replica elects no leader, is
// told nothing.
func (o reportOptions) warnOfSilence(ctx context.Context, c client.Client, warnings io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	lease := &unstructured.Unstructured{}
	lease.SetAPIVersion("coordination.k8s.io/v1")
	lease.SetKind("Lease")
	if c.Get(ctx, client.ObjectKey{Namespace: o.namespace, Name: operatorLease}, lease) != nil {
		return nil // nobody knows, and the report is there
	}
	renewed, _, _ := unstructured.NestedString(lease.Object, "spec", "renewTime")
	at, err := time.Parse(time.RFC3339Nano, renewed)
	if silent := time.Since(at); err == nil && silent > leasePatience {
		_, err := fmt.Fprintf(warnings, "Warning: no operator has renewed its Lease for %s, so this report may be as old; kubectl -n %s get pods -l app.kubernetes.io/name=flux-operator tells more\n",
			duration.HumanDuration(silent), o.namespace)
		return err
	}
	return nil
}

package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/flux-autopilot/flux-operator/pkg/render"
)

// named is the ConfigMap with authorities that the user named, empty where none was. The one that OpenShift fills in is owned, and watched as such.
func (p *Platform) named() string {
	if p == nil || p.TrustedCA == render.NoTrustedCA || p.TrustedCA == render.AutomaticTrustedCA {
		return ""
	}
	return p.TrustedCA
}

// outdated tells whether other certificates are to be trusted than Look found.
func (p *Platform) outdated() bool { return p != nil && p.stale.Load() }

// followAuthorities watches the one ConfigMap that the user named, if any, for what is under the one key that counts.
func (r *FluxInstanceReconciler) followAuthorities(mgr ctrl.Manager, c controller.Controller, instance client.ObjectKey) error {
	name := r.Platform.named()
	if name == "" {
		return nil
	}
	one, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient:           mgr.GetHTTPClient(),
		Scheme:               mgr.GetScheme(),
		Mapper:               mgr.GetRESTMapper(),
		DefaultFieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, name),
		DefaultNamespaces:    map[string]cache.Config{instance.Namespace: {}},
		DefaultTransform:     cache.TransformStripManagedFields(),
	})
	if err != nil {
		return fmt.Errorf("making the cache of ConfigMap %q: %w", name, err)
	}
	if err := mgr.Add(one); err != nil {
		return fmt.Errorf("adding the cache of ConfigMap %q: %w", name, err)
	}
	return c.Watch(source.Kind[client.Object](one, &corev1.ConfigMap{}, r.authoritiesHandler(instance), certificatesOnly()))
}

// authoritiesHandler enqueues the instance, and ends a wait for controllers that trust what they no longer should.
func (r *FluxInstanceReconciler) authoritiesHandler(instance client.ObjectKey) handler.EventHandler {
	wake := func(q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		r.Platform.stale.Store(true)
		q.Add(reconcile.Request{NamespacedName: instance})
		r.interrupts.fire(instance, errSuperseded)
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			if !e.IsInInitialList { // the first pass has seen it, or will
				wake(q)
			}
		},
		UpdateFunc: func(_ context.Context, _ event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			wake(q)
		},
		DeleteFunc: func(_ context.Context, _ event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			wake(q)
		},
	}
}

// certificatesOnly lets through changes of the certificates: what else is written to their ConfigMap concerns nobody here.
func certificatesOnly() predicate.Predicate {
	certificates := func(obj client.Object) string {
		config, _ := obj.(*corev1.ConfigMap)
		return config.Data[render.TrustedCAKey]
	}
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool { return certificates(e.ObjectOld) != certificates(e.ObjectNew) }}
}

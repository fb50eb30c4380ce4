package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	v1 "github.com/flux-autopilot/flux-operator/apis/v1"
)

// APIServer tells which version the API server has. It is asked again whenever that matters: a cluster is upgraded while the operator runs, and
// nothing of the operator has to end or to reconnect for it.
type APIServer struct {
	api rest.Interface
	// changed hears that decisions were made for another version.
	changed chan event.GenericEvent

	mu    sync.Mutex
	known v1.ClusterInfo
	// judged is the version that a pass decided by last, empty while none did.
	judged string
}

// NewAPIServer returns what asks an API server.
func NewAPIServer(api rest.Interface) *APIServer {
	return &APIServer{api: api, changed: make(chan event.GenericEvent, 1)}
}

// Look asks for the version, and starts a pass over the instance when what was decided last was decided for another one: what an older API server
// kept from being installed may be installed now. When it cannot be asked, it returns what is known with the error.
func (s *APIServer) Look(ctx context.Context) (v1.ClusterInfo, error) {
	found, err := s.ask(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		return s.known, err
	}
	s.known = found
	if s.judged != "" && s.judged != found.ServerVersion {
		select {
		case s.changed <- event.GenericEvent{Object: &v1.FluxInstance{}}:
		default: // it is told already
		}
	}
	return found, nil
}

// judge asks for the version that something is decided by.
func (s *APIServer) judge(ctx context.Context) (string, error) {
	found, err := s.ask(ctx)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known, s.judged = found, found.ServerVersion
	return s.judged, nil
}

func (s *APIServer) ask(ctx context.Context) (v1.ClusterInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, platformTimeout)
	defer cancel()
	answer, err := s.api.Get().AbsPath("/version").Do(ctx).Raw()
	var said version.Info
	if err == nil {
		err = json.Unmarshal(answer, &said)
	}
	if err != nil {
		return v1.ClusterInfo{}, fmt.Errorf("asking for the version of the API server: %w", err)
	}
	return v1.ClusterInfo{ServerVersion: said.GitVersion, Platform: said.Platform}, nil
}

// followServer has the instance looked at when the API server is another one than passes decided by. It ends no wait: what is waited for was let
// through by then.
func (r *FluxInstanceReconciler) followServer(c controller.Controller, instance client.ObjectKey) error {
	if r.Server == nil {
		return nil
	}
	return c.Watch(source.Channel(r.Server.changed, handler.Funcs{
		GenericFunc: func(_ context.Context, _ event.GenericEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			q.Add(reconcile.Request{NamespacedName: instance})
		},
	}))
}

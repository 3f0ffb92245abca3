#!/bin/sh
blockMesh && exec icoFoam
